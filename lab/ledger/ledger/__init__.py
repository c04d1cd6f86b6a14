"""The laboratory's own service: a ledger of entries, each an amount on an account.

It is small, and its upgrades are not. OpenStack's schemas hardly change between the releases there are today; a release
of the ledger with a file in ``changes`` adds a column, moves data to it, and drops the old one, after which releases
before cannot work any more. Code of one release serves on the schema before, during and after its own change.
"""
