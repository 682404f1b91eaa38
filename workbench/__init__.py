"""Everything around the core: data sets, runs, pictures, notebooks and views."""
