"""The publisher's side of releases: TUF keys and repository, the signer, and the step that asks it."""
