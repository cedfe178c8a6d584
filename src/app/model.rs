//! `thermograph model`: gets the weights.
