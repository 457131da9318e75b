"""DynamoDB for the store ``docdb``: its requests, and the list items by which documents are found.

Not allowed here: other databases.
"""
