"""The label store: an append-only table of label events, its views and its versions."""
