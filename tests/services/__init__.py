"""The databases and brokers the tests run against: real ones, started from wheels."""
