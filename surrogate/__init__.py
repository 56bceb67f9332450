"""The learned law and the macro scale."""
