"""Studies looked at: reports, tables, exports, previews. Nothing here trains."""
