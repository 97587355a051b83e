"""The names of features and targets in files with several arrays."""

from collections.abc import Collection

from nnmpi.errors import InputError

# The first pair whose features are in the file is used.
KEYS = (
    ("X", "y"),
    ("x", "y"),
    ("data", "target"),
    ("X_train", "y_train"),
    ("x_train", "y_train"),
    ("features", "labels"),
    ("images", "labels"),
    ("arr_0", "arr_1"),  # numpy.savez(file, X, y)
)


def keys_of(name: str, members: Collection[str], targets: bool, remedy: str) -> tuple[str, str | None]:
    """Return the names of features and targets among `members`. Without `targets`, the second name may be None.

    Raises
    ------
    InputError
        If a needed name is missing; it lists the `members` and ends with `remedy`.
    """
    x_key, y_key = next((pair for pair in KEYS if pair[0] in members), KEYS[0])
    if y_key not in members:
        y_key = next((key for _, key in KEYS if key in members), y_key)
    for key in (x_key, y_key) if targets else (x_key,):
        if key not in members:
            listed = ", ".join(list(members)[:10]) + (", …" if len(members) > 10 else "")
            raise InputError(f"--data {name}: has no array {key}, its arrays are {listed or 'none'}: {remedy}")
    return x_key, y_key if y_key in members else None
