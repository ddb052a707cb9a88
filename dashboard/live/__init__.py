"""What goes out over `/ws`: who listens (`hub`), and what there is to say (`downloads`, `outputs`, `queue`, …)."""
