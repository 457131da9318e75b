"""DynamoDB for the store ``docdb``: its requests, and the items that lead to documents."""
