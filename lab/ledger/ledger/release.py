"""The release that this copy belongs to; written anew where it is put into a release's environment."""

RELEASE = "0"
