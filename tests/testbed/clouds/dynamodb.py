"""A table of DynamoDB, on moto's server."""

from __future__ import annotations

import os
from itertools import count
from typing import Any

_numbers = count(1)


def make_table(client: Any) -> str:
    """Make a table as Tekton Chains needs it, and return its name."""
    name = f"evidence-{os.getpid()}-{next(_numbers)}"
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "Name", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "Name", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return name
