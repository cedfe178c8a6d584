//! Work that is mostly memory, or the kernel's.

use std::{backtrace::Backtrace, fs, hint::black_box, os::unix::fs::FileExt as _};

use rustix::fs::MemfdFlags;

use super::{for_a_while, system::touch_fresh_memory};
use crate::specimen::{Specimen, computes, computes_in};

pub(super) fn all() -> Vec<Specimen> {
    vec![
        computes(clone_strings),
        computes(drop_tree),
        computes(copy_memory),
        computes(fill_memory),
        computes_in(grow_vector, &["mremap", "mmap", "munmap", "brk"]),
        computes_in(fault_pages, &["mmap", "munmap"]),
        computes(capture_backtraces),
        computes_in(read_file, &["read", "pread64", "openat", "statx"]),
        computes_in(write_file, &["pwrite64"]),
        computes_in(look_at_files, &["statx", "openat", "getdents64"]),
    ]
}

#[inline(never)]
fn clone_strings() {
    let strings: Vec<_> = (0..10_000_u32).map(|number| format!("string {number}")).collect();
    for_a_while(|| {
        black_box(black_box(&strings).clone());
    });
    black_box(());
}

struct Tree {
    _payload: [u64; 4],
    _branches: Option<Box<(Tree, Tree)>>,
}

impl Tree {
    fn of(depth: u32) -> Self {
        let branches = (depth > 0).then(|| Box::new((Self::of(depth - 1), Self::of(depth - 1))));
        Self { _payload: [0; 4], _branches: branches }
    }
}

#[inline(never)]
fn drop_tree() {
    for_a_while(|| drop(black_box(Tree::of(10))));
    black_box(());
}

#[inline(never)]
fn copy_memory() {
    let (from, mut to) = (vec![1_u8; 4 << 20], vec![0_u8; 4 << 20]);
    for_a_while(|| {
        to.copy_from_slice(black_box(&from));
        black_box(&to);
    });
    black_box(());
}

#[inline(never)]
fn fill_memory() {
    let mut bytes = vec![0_u8; 4 << 20];
    for_a_while(|| {
        black_box(&mut bytes).fill(black_box(7));
    });
    black_box(());
}

#[inline(never)]
fn grow_vector() {
    for_a_while(|| {
        let mut numbers = Vec::new();
        for number in 0..100_000_u64 {
            numbers.push(black_box(number));
        }
        black_box(numbers);
    });
    black_box(());
}

#[inline(never)]
fn fault_pages() {
    for_a_while(|| touch_fresh_memory(256));
    black_box(());
}

#[inline(never)]
fn capture_backtraces() {
    for_a_while(|| drop(black_box(Backtrace::force_capture())));
    black_box(());
}

/// Out of the cache of the kernel.
#[inline(never)]
fn read_file() {
    let path = std::env::current_exe().expect("a program");
    for_a_while(|| {
        let file = fs::File::open(&path).expect("opened");
        let mut bytes = vec![0; 1 << 20];
        file.read_exact_at(&mut bytes, 0).expect("read");
        black_box(bytes);
    });
    black_box(());
}

/// Into memory: on a disk it would wait now and then.
#[inline(never)]
fn write_file() {
    let memory = rustix::fs::memfd_create("written", MemfdFlags::CLOEXEC).expect("made");
    let file = fs::File::from(memory);
    for_a_while(|| file.write_all_at(&[b'x'; 16_384], 0).expect("written"));
    black_box(());
}

#[inline(never)]
fn look_at_files() {
    for_a_while(|| {
        black_box(fs::read_dir("/proc/self/task").expect("a folder").count());
        black_box(fs::metadata("/proc/self/status").is_ok());
    });
    black_box(());
}
