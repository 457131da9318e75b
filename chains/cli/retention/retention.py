"""The commands ``retention``. Apart from ``audit``, which only reads: these change locks and delete."""

from __future__ import annotations

from chains.cli.commands import Group
from chains.cli.retention.check import check, lint
from chains.cli.retention.disposal import dispose
from chains.cli.retention.locks import renew

retention = Group("retention", [lint, check, renew, dispose])
