//! `thermograph load`: drives traffic and tells its latencies.
