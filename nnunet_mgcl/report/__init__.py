"""The report: sections of text, tables and figures about a trained model, as one page."""
