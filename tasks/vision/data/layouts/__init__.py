"""How pictures lie in folders, archives and tables: which class and which split each has."""
