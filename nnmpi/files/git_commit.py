"""Read the checked-out commit from the files of Git, because a process that uses MPI must not start others."""

import re
from pathlib import Path

COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
LARGEST = 1 << 22  # bytes of packed-refs


def git_commit(directory: Path) -> str | None:
    """Return the commit of the working tree that contains `directory`; None if there is none."""
    try:
        for folder in (directory, *directory.parents):
            git = folder / ".git"
            if git.is_file():  # in a worktree or a submodule
                git = folder / _text(git).removeprefix("gitdir:").strip()
            if git.is_dir():
                return _resolve(git, _text(git / "HEAD").strip())
    except (OSError, ValueError):
        pass
    return None


def _resolve(git: Path, head: str) -> str | None:
    if head.startswith("ref: "):
        name = head.removeprefix("ref: ")
        common = git / _text(git / "commondir").strip() if (git / "commondir").is_file() else git
        if (common / name).is_file():
            head = _text(common / name).strip()
        elif (common / "packed-refs").is_file():
            lines = (line.partition(" ") for line in _text(common / "packed-refs").splitlines())
            head = next((commit for commit, _, ref in lines if ref == name), "")
    return head if COMMIT.fullmatch(head) else None


def _text(path: Path) -> str:
    with open(path, errors="replace") as file:
        return file.read(LARGEST)
