"""The command `kizu`: it composes settings, stores and steps."""
