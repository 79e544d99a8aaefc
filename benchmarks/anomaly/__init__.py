"""How well a model that learned from good parts alone tells good and defective parts apart."""
