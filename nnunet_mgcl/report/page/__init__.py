"""A page: sections of text, tables and figures, laid out as HTML."""
