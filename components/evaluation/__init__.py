"""The step that scores an exported model as it will run, and applies the gate."""
