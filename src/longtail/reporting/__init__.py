"""Reports for people: what finished runs show, as sections of figures, tables and pictures, and as one page of HTML."""
