//! The allocator of this program: jemalloc, which can sample what is allocated and freed.
//!
//! Sampling is ready and not on: until memory is captured, an allocation costs what it costs
//! without it.

#![expect(unsafe_code, reason = "jemalloc looks for its settings under a symbol of the program")]

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

// SAFETY: jemalloc declares `const char *_rjem_malloc_conf`, weak, so that a program may define it,
// and only reads it: a text that ends with 0. A reference to an array is a plain pointer to its
// first byte, and this one is good for ever. Nothing else has this name.
#[unsafe(export_name = "_rjem_malloc_conf")]
static SETTINGS: &[u8; 62] = b"prof:true,prof_active:false,lg_prof_sample:19,prof_bt_max:256\0";
