"""Labels in and out: other tools' files become label events, and label events become other tools' files."""
