"""Load: clients in processes of their own, cheap enough that they are not what is measured."""
