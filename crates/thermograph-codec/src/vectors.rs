//! Vectors in an answer that came as JSON: `data[].embedding`, as the client wants them.

use crate::{error::Problem, sink::Sink};

/// Form in which a client of a binary codec wants vectors that come as lists of numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Vectors {
    /// As bytes.
    Packed,
    /// As lists of 32-bit floats.
    Floats,
}

/// Passes everything on, but gathers the vectors.
pub(super) struct Gather<'a, S> {
    form: Vectors,
    inner: &'a mut S,
    depth: usize,
    /// Whether this is within `data`.
    in_data: bool,
    /// The next value is that of the key.
    after: After,
    vector: Option<Vec<Number>>,
}

#[derive(Clone, Copy)]
enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum After {
    Data,
    Embedding,
    Else,
}

impl<'a, S: Sink> Gather<'a, S> {
    pub(super) fn new(form: Vectors, inner: &'a mut S) -> Self {
        Self { form, inner, depth: 0, in_data: false, after: After::Else, vector: None }
    }

    /// A value begins that is no number: a list that has it is no vector.
    fn value(&mut self) -> Result<After, Problem> {
        if let Some(numbers) = self.vector.take() {
            self.spill(&numbers)?;
        }
        Ok(std::mem::replace(&mut self.after, After::Else))
    }

    fn spill(&mut self, numbers: &[Number]) -> Result<(), Problem> {
        self.inner.begin_list(None)?;
        for number in numbers {
            match *number {
                Number::Unsigned(value) => self.inner.u64(value)?,
                Number::Signed(value) => self.inner.i64(value)?,
                Number::Float(value) => self.inner.f64(value)?,
            }
        }
        Ok(())
    }

    /// Whether it was taken for a vector.
    fn number(&mut self, number: Number) -> bool {
        self.after = After::Else;
        let Some(vector) = &mut self.vector else { return false };
        vector.push(number);
        true
    }

    fn end(&mut self) {
        self.depth -= 1;
        self.in_data &= self.depth > 1;
        self.after = After::Else;
    }
}

impl<S: Sink> Sink for Gather<'_, S> {
    fn null(&mut self) -> Result<(), Problem> {
        self.value()?;
        self.inner.null()
    }

    fn bool(&mut self, value: bool) -> Result<(), Problem> {
        self.value()?;
        self.inner.bool(value)
    }

    fn u64(&mut self, value: u64) -> Result<(), Problem> {
        if self.number(Number::Unsigned(value)) { Ok(()) } else { self.inner.u64(value) }
    }

    fn i64(&mut self, value: i64) -> Result<(), Problem> {
        if self.number(Number::Signed(value)) { Ok(()) } else { self.inner.i64(value) }
    }

    fn f64(&mut self, value: f64) -> Result<(), Problem> {
        if self.number(Number::Float(value)) { Ok(()) } else { self.inner.f64(value) }
    }

    fn f32(&mut self, value: f32) -> Result<(), Problem> {
        self.f64(value.into())
    }

    fn text(&mut self, value: &str) -> Result<(), Problem> {
        self.value()?;
        self.inner.text(value)
    }

    fn bytes(&mut self, value: &[u8]) -> Result<(), Problem> {
        self.value()?;
        self.inner.bytes(value)
    }

    fn vector(&mut self, values: &[f32]) -> Result<(), Problem> {
        self.value()?;
        self.inner.vector(values)
    }

    fn begin_list(&mut self, length: Option<usize>) -> Result<(), Problem> {
        let after = self.value()?;
        self.depth += 1;
        match (after, self.depth, self.in_data) {
            (After::Embedding, 4, true) => {
                self.vector = Some(Vec::new());
                return Ok(());
            }
            (After::Data, 2, _) => self.in_data = true,
            _ => {}
        }
        self.inner.begin_list(length)
    }

    fn end_list(&mut self) -> Result<(), Problem> {
        self.end();
        let Some(numbers) = self.vector.take() else { return self.inner.end_list() };
        let values: Vec<f32> = numbers.iter().map(|number| number.single()).collect();
        // What is no 32-bit float is left as it is.
        if !values.iter().all(|value| value.is_finite()) {
            self.spill(&numbers)?;
            return self.inner.end_list();
        }
        match self.form {
            Vectors::Packed => self.inner.vector(&values),
            Vectors::Floats => self.inner.list_of(&values),
        }
    }

    fn begin_map(&mut self, length: Option<usize>) -> Result<(), Problem> {
        self.value()?;
        self.depth += 1;
        self.inner.begin_map(length)
    }

    fn key(&mut self, key: &str) -> Result<(), Problem> {
        self.after = match (key, self.depth, self.in_data) {
            ("data", 1, _) => After::Data,
            ("embedding", 3, true) => After::Embedding,
            _ => After::Else,
        };
        self.inner.key(key)
    }

    fn end_map(&mut self) -> Result<(), Problem> {
        self.end();
        self.inner.end_map()
    }

    fn written(&self) -> usize {
        self.inner.written()
    }
}

impl Number {
    fn single(self) -> f32 {
        match self {
            Self::Unsigned(value) => value as f32,
            Self::Signed(value) => value as f32,
            Self::Float(value) => value as f32,
        }
    }
}
