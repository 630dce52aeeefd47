"""The contract VM: engine, memory, gas, sessions and receipts. Knows no files beyond what the store offers."""
