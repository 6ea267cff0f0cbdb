"""The folders of trained models, read and checked."""
