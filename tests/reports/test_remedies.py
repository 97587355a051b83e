"""Messages name the right remedy, and it works."""

from pathlib import Path

import numpy as np
import pytest
from jobs import CommandServer

X = np.random.default_rng(0).random((100, 4)).round(4)
Y = (X[:, 0] > 0.5).astype(int)
TRAIN = ("--epochs", "1", "--hidden", "4")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    np.savez(tmp_path / "a.npz", X=X, y=Y)
    np.savez(tmp_path / "few.npz", X=X[:8], y=Y[:8])
    rows = "".join(",".join(map(str, [*x, y])) + "\n" for x, y in zip(X.tolist(), Y.tolist(), strict=True))
    (tmp_path / "a.csv").write_text(f"a,b,c,d,late\n{rows}")
    (tmp_path / "empty").mkdir()
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "t.parquet").touch()
    return tmp_path


REFUSED = {
    "convert empty e.parquet": "empty: neither a file that ends in .csv, .csv.gz, .tsv, .tsv.gz nor a directory of",
    "convert a.npz e.parquet": "nnmpi: a.npz: neither a file that ends in .csv",
    "convert tables e.parquet": "tables: neither a file that ends in .csv",
    "convert none.csv e.parquet": "nnmpi: none.csv: no such file",
    "convert a.csv e.txt": "e.txt: allowed is a file that ends in .parquet",
    "lr-find few.npz --batch-size 1": "give more samples",
    "train a.npz --test-data a.npz --validation-fraction 0.99": "lower --validation-fraction, or use --stratify",
    "train a.npz --test-data a.csv": "which column is the target? Call it target, y, label or class",
    "train a.csv": "which column is the target? Name it with --target of train, or call it target",
}


@pytest.mark.parametrize("command", REFUSED)
def test_the_remedy_fits_the_command(nnmpi: CommandServer, files: Path, command: str) -> None:
    before = sorted(files.iterdir())
    done = nnmpi(*command.split(), cwd=files)
    assert (done.status, len(done.messages)) == (2, 1)
    assert REFUSED[command] in done.messages[0]
    assert sorted(files.iterdir()) == before


def test_lr_find_names_the_largest_batch_size(nnmpi: CommandServer, files: Path) -> None:
    refused = nnmpi("lr-find", "a.npz", "--batch-size", "5", cwd=files)
    assert "lower --batch-size to 4 or less" in refused.messages[0]
    nnmpi("lr-find", "a.npz", "--batch-size", "4", cwd=files).succeeded()


def test_all_rows_of_changed_data_can_be_predicted(nnmpi: CommandServer, files: Path) -> None:
    nnmpi("train", "a.npz", *TRAIN, "--output", "m", cwd=files).succeeded()
    np.savez(files / "a.npz", X=X + 1, y=Y)
    refused = nnmpi("predict", "m", "a.npz", "--part", "test", cwd=files)
    assert refused.messages[0].endswith("evaluate MODEL a.npz, or predict MODEL a.npz without --part")
    nnmpi("predict", "m", "a.npz", cwd=files).succeeded()
    nnmpi("evaluate", "m", "a.npz", cwd=files).succeeded()
