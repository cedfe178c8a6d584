//! From a click to a flame graph, and to what changed between two.
