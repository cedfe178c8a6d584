//! Arithmetic, text and collections.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    hint::black_box,
    iter::repeat_with,
    sync::atomic::{AtomicBool, Ordering::Acquire},
};

use super::{for_a_while, hash};
use crate::specimen::{Specimen, computes};

pub(super) fn all() -> Vec<Specimen> {
    vec![
        computes(spin),
        computes(spin_on_a_flag),
        computes(float_loop),
        computes(matrix_product),
        computes(fibonacci),
        computes(sort_numbers),
        computes(sort_strings),
        computes(hash_map),
        computes(btree_map),
        computes(format_text),
        computes(build_string),
        computes(lower_case),
        computes(parse_numbers),
        computes(edit_distance),
    ]
}

#[inline(never)]
pub(super) fn spin() {
    for_a_while(hash);
    black_box(());
}

#[inline(never)]
fn spin_on_a_flag() {
    let flag = AtomicBool::new(false);
    for_a_while(|| {
        for _ in 0..1000 {
            if black_box(&flag).load(Acquire) {
                break;
            }
            std::hint::spin_loop();
        }
    });
    black_box(());
}

#[inline(never)]
fn float_loop() {
    for_a_while(|| {
        let mut sum = 0.0_f64;
        for number in 1..2000 {
            sum += black_box(f64::from(number)).sqrt().sin();
        }
        black_box(sum);
    });
    black_box(());
}

#[inline(never)]
fn matrix_product() {
    const SIZE: usize = 64;
    let (left, right) = (vec![[1.5_f32; SIZE]; SIZE], vec![[0.5_f32; SIZE]; SIZE]);
    for_a_while(|| {
        let mut product = vec![[0.0_f32; SIZE]; SIZE];
        for (row, line) in black_box(&left).iter().zip(&mut product) {
            for (place, factor) in row.iter().enumerate() {
                for (cell, other) in line.iter_mut().zip(&black_box(&right)[place]) {
                    *cell += factor * other;
                }
            }
        }
        black_box(product);
    });
    black_box(());
}

fn fibonacci_of(number: u64) -> u64 {
    if number < 2 { number } else { fibonacci_of(number - 1) + fibonacci_of(number - 2) }
}

#[inline(never)]
fn fibonacci() {
    for_a_while(|| {
        black_box(fibonacci_of(black_box(20)));
    });
    black_box(());
}

fn numbers(count: usize) -> Vec<u32> {
    let mut number = 1_u32;
    let next = || {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        number
    };
    repeat_with(next).take(count).collect()
}

#[inline(never)]
fn sort_numbers() {
    for_a_while(|| {
        let mut numbers = numbers(20_000);
        numbers.sort_unstable();
        black_box(numbers);
    });
    black_box(());
}

#[inline(never)]
fn sort_strings() {
    for_a_while(|| {
        let mut words: Vec<_> = numbers(2000).iter().map(u32::to_string).collect();
        words.sort_unstable();
        black_box(words);
    });
    black_box(());
}

#[inline(never)]
fn hash_map() {
    for_a_while(|| {
        let mut counts = HashMap::new();
        for number in numbers(5000) {
            *counts.entry(number % 4096).or_insert(0_u64) += 1;
        }
        black_box(counts);
    });
    black_box(());
}

#[inline(never)]
fn btree_map() {
    for_a_while(|| {
        let mut names = BTreeMap::new();
        for number in numbers(2000) {
            names.insert(number, number.to_string());
        }
        black_box(names);
    });
    black_box(());
}

#[inline(never)]
fn format_text() {
    for_a_while(|| {
        for number in 0..100 {
            black_box(format!(
                "{number:>8} {:.3} {:?}",
                black_box(1.5),
                black_box(["some", "words"])
            ));
        }
    });
    black_box(());
}

#[inline(never)]
fn build_string() {
    for_a_while(|| {
        let mut text = String::new();
        for number in 0..1000 {
            text.push_str("item ");
            write!(text, "{number}").expect("written");
            text.push('\n');
        }
        black_box(text);
    });
    black_box(());
}

#[inline(never)]
fn lower_case() {
    let text = "Some TEXT of Several WÖRDS ".repeat(100);
    for_a_while(|| {
        black_box(black_box(&text).to_lowercase());
    });
    black_box(());
}

#[inline(never)]
fn parse_numbers() {
    let text = "3.14159265358979 42 ".repeat(200);
    for_a_while(|| {
        let numbers = black_box(&text).split(' ').filter_map(|word| word.parse::<f64>().ok());
        black_box(numbers.sum::<f64>());
    });
    black_box(());
}

#[inline(never)]
fn edit_distance() {
    let (left, right) = ("kitten sitting ".repeat(10), "sitting kitten ".repeat(10));
    for_a_while(|| {
        let mut costs: Vec<_> = (0..=right.len()).collect();
        for (row, letter) in black_box(&left).bytes().enumerate() {
            let mut corner = row;
            costs[0] = row + 1;
            for (column, other) in right.bytes().enumerate() {
                let above = costs[column + 1];
                let changed = corner + usize::from(letter != other);
                costs[column + 1] = changed.min(above + 1).min(costs[column] + 1);
                corner = above;
            }
        }
        black_box(costs);
    });
    black_box(());
}
