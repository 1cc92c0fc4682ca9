"""Mounts: whether a file is on this machine, or on a file system that several machines share."""

import re
from pathlib import Path

_SHARED = re.compile("afs|beegfs|ceph|cifs|fuse.(glusterfs|sshfs)|gpfs|lustre|nfs4?|smb3|smbfs")
_ESCAPED = re.compile(r"\\([0-7]{3})")


def shared(path: Path, mounts: str) -> str | None:
    """The network file system that a path is on, by Linux's /proc/self/mountinfo; None if it is none."""
    kinds: dict[Path, str] = {}
    for line in mounts.splitlines():
        before, mark, after = line.partition(" - ")
        if mark:
            point = _ESCAPED.sub(lambda found: chr(int(found[1], 8)), before.split()[4])
            kinds[Path(point)] = after.split()[0]  # what was mounted last at a place is what is seen there
    kind = next((kinds[each] for each in (path, *path.parents) if each in kinds), "")
    return kind if _SHARED.fullmatch(kind) else None
