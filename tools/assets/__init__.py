"""The stages of a team: *assets* (test, images, pipelines, manifests, bills, provenance) and *workflow* (submit)."""
