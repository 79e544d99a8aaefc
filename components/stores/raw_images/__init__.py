"""The raw bucket: images under their digest, and the Captures that say why each was sent."""
