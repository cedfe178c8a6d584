//! The frame pointer of a thread whose registers are not known, found by the code and the stack.
//!
//! Of a waiting thread only stack pointer and program counter are known. Most functions are unwound
//! by these, and restore the frame pointer that they saved. Where a frame's rule needs the frame
//! pointer before any function has restored it, it is the stack pointer plus what the function's
//! prologue has subtracted from it. A guess counts only if the return address that it leads to stands
//! behind a call of this very function, or, for an indirect call, behind a call: an unverified one
//! gives stacks that are complete and wrong.

use std::collections::HashMap;

use addr2line::gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameHdr, EndianSlice, FrameDescriptionEntry, LittleEndian,
    RegisterRule, UnwindContext, UnwindSection as _, X86_64,
};

use super::{modules::Module, waiting::word};

/// Recovers frame pointers; remembers the prologues of functions.
#[derive(Debug, Default)]
pub(super) struct FramePointers {
    functions: HashMap<u64, Option<Function>>,
}

/// A function whose frame is found by the frame pointer.
#[derive(Clone, Copy, Debug)]
struct Function {
    start: u64,
    /// From the frame pointer to the canonical frame address.
    cfa: u64,
    /// From the stack pointer to the frame pointer, after the prologue; `None` if it varies.
    size: Option<u64>,
}

/// How well a return address is known to be the function's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Call {
    /// Behind a call of this function.
    Direct,
    /// Behind a call by a pointer.
    Indirect,
    /// Behind no call, or behind one of another function.
    Other,
}

/// The part of a stack that lies above a frame's stack pointer.
struct Above<'a> {
    sp: u64,
    bytes: &'a [u8],
}

/// Functions that are remembered at most.
const REMEMBERED: usize = 4096;
/// How far above the stack pointer a frame is searched for.
const SEARCHED: usize = 64 << 10;
/// push rbp; mov rbp, rsp; pop rbp
const FORWARDS: [u8; 5] = [0x55, 0x48, 0x89, 0xe5, 0x5d];
/// Instructions of a prologue at most.
const PROLOGUE: usize = 24;

impl FramePointers {
    /// Forgets everything: other code may have come to the same addresses.
    pub(super) fn clear(&mut self) {
        self.functions.clear();
    }

    /// The frame pointer of a frame at `address` whose stack pointer is `sp`; `bytes` are what the
    /// stack holds from there.
    pub(super) fn find(
        &mut self,
        modules: &[Module],
        address: u64,
        sp: u64,
        bytes: &[u8],
    ) -> Option<u64> {
        if self.functions.len() >= REMEMBERED {
            self.functions.clear();
        }
        let known = self.functions.entry(address);
        let function = (*known.or_insert_with(|| Function::at(modules, address)))?;
        let above = Above { sp, bytes };
        let call = |pointer: u64| {
            let returns_to = above.word(pointer.wrapping_add(function.cfa - 8))?;
            Some(call_before(modules, returns_to, function.start))
        };
        let by_prologue = function.size.map(|size| sp + size);
        let is_call = |pointer: &u64| matches!(call(*pointer), Some(Call::Direct | Call::Indirect));
        by_prologue.filter(is_call).or_else(|| {
            let end = sp + bytes.len().min(SEARCHED) as u64;
            (sp..end).step_by(8).find(|pointer| call(*pointer) == Some(Call::Direct))
        })
    }
}

impl Above<'_> {
    fn word(&self, at: u64) -> Option<u64> {
        let offset = usize::try_from(at.checked_sub(self.sp)?).ok()?;
        let bytes = self.bytes.get(offset..)?.first_chunk()?;
        Some(u64::from_ne_bytes(*bytes))
    }
}

/// An entry of the unwind tables.
type Entry<'a> = FrameDescriptionEntry<EndianSlice<'a, LittleEndian>>;

/// The entry of the tables for the code at an address of a module.
fn entry_of(
    module: &Module,
    address: u64,
) -> Option<(Entry<'_>, EhFrame<EndianSlice<'_, LittleEndian>>, BaseAddresses)> {
    let tables = module.unwind_tables()?;
    let bases = BaseAddresses::default()
        .set_eh_frame(tables.eh_frame_address)
        .set_eh_frame_hdr(tables.eh_frame_hdr_address)
        .set_text(tables.text_address);
    let frames = EhFrame::new(tables.eh_frame, LittleEndian);
    let header = EhFrameHdr::new(tables.eh_frame_hdr, LittleEndian).parse(&bases, 8).ok()?;
    let relative = address.wrapping_sub(module.base);
    let entry = header
        .table()?
        .fde_for_address(&frames, &bases, relative, EhFrame::cie_from_offset)
        .ok()?;
    Some((entry, frames, bases))
}

/// First address of the function that contains an address.
pub(super) fn start_of(module: &Module, address: u64) -> Option<u64> {
    let (entry, ..) = entry_of(module, address)?;
    Some(entry.initial_address().wrapping_add(module.base))
}

/// The registers of its caller that a function has saved where it stands at an address: their
/// numbers, and where they are, relative to the canonical frame address.
pub(super) fn saved_registers(module: &Module, address: u64) -> Vec<(u16, i64)> {
    let saved = || {
        let (entry, frames, bases) = entry_of(module, address)?;
        let mut context = UnwindContext::new();
        let relative = address.wrapping_sub(module.base);
        let row = entry.unwind_info_for_address(&frames, &bases, &mut context, relative).ok()?;
        let saved = row.registers().filter_map(|(register, rule)| match rule {
            RegisterRule::Offset(offset) if *register != X86_64::RA => Some((register.0, *offset)),
            _ => None,
        });
        Some(saved.collect())
    };
    saved().unwrap_or_default()
}

impl Function {
    /// The function at an address, if its frame is found by the frame pointer there.
    fn at(modules: &[Module], address: u64) -> Option<Self> {
        let module = module_of(modules, address)?;
        let (entry, frames, bases) = entry_of(module, address)?;
        let relative = address.wrapping_sub(module.base);
        let mut context = UnwindContext::new();
        let mut rows = entry.rows(&frames, &bases, &mut context).ok()?;
        let mut after_prologue = None;
        let mut cfa = None;
        while let Ok(Some(row)) = rows.next_row() {
            if let CfaRule::RegisterAndOffset { register, offset } = row.cfa()
                && *register == X86_64::RBP
            {
                after_prologue.get_or_insert(row.start_address());
                if row.contains(relative) {
                    cfa = u64::try_from(*offset).ok().filter(|cfa| *cfa >= 8);
                }
            }
        }
        let body = after_prologue.map(|start| start.wrapping_add(module.base));
        Some(Self {
            start: entry.initial_address().wrapping_add(module.base),
            cfa: cfa?,
            size: body.and_then(|body| frame_size(module, body)),
        })
    }
}

/// The distance from the stack pointer to the frame pointer, by the instructions that follow
/// `mov rbp, rsp` at `at`: pushes, `sub rsp, n`, and probes of the stack.
fn frame_size(module: &Module, mut at: u64) -> Option<u64> {
    let mut size = 0_u64;
    for _ in 0..PROLOGUE {
        let code = module.code(at, 48)?;
        let number = |offset: usize| Some(i32::from_le_bytes(*code.get(offset..)?.first_chunk()?));
        match code {
            // push r8 to r15; push rax to rdi
            [0x41, 0x50..=0x57, ..] => (size, at) = (size + 8, at + 2),
            [0x50..=0x57, ..] => (size, at) = (size + 8, at + 1),
            // sub rsp, imm8 (sign-extended); sub rsp, imm32
            [0x48, 0x83, 0xec, by, ..] => {
                (size, at) = (size.wrapping_add_signed(i64::from(by.cast_signed())), at + 4);
            }
            [0x48, 0x81, 0xec, ..] => {
                (size, at) = (size.wrapping_add_signed(i64::from(number(3)?)), at + 7);
            }
            // mov qword [rsp], 0: a probe
            [0x48, 0xc7, 0x04, 0x24, 0, 0, 0, 0, ..] => at += 8,
            // lea r11, [rsp - n], and a loop that ends with jne: probes
            [0x4c, 0x8d, 0x9c, 0x24, ..] => {
                size = size.wrapping_add_signed(-i64::from(number(4)?));
                let jump = code.get(8..)?.windows(2).position(|code| code[0] == 0x75)?;
                at += 8 + jump as u64 + 2;
            }
            // and rsp, -n: the size varies
            [0x48, 0x83 | 0x81, 0xe4, ..] => return None,
            // mov and xor of registers, which the compiler puts in between
            [0x48 | 0x49 | 0x4c | 0x4d, 0x89, operands, ..] if operands >> 6 == 3 => at += 3,
            [0x89 | 0x31, operands, ..] if operands >> 6 == 3 => at += 2,
            [0x41 | 0x44 | 0x45, 0x89 | 0x31, operands, ..] if operands >> 6 == 3 => at += 3,
            _ => return Some(size),
        }
    }
    Some(size)
}

/// The call that a return address stands behind, with respect to the function that begins at
/// `start`.
fn call_before(modules: &[Module], returns_to: u64, start: u64) -> Call {
    const LONGEST: usize = 7;
    let code = module_of(modules, returns_to)
        .and_then(|module| module.code(returns_to.wrapping_sub(LONGEST as u64), LONGEST));
    let Some(code @ [.., d0, d1, d2, d3]) = code.filter(|code| code.len() == LONGEST) else {
        return Call::Other;
    };
    let relative = i64::from(i32::from_le_bytes([*d0, *d1, *d2, *d3]));
    let target = returns_to.wrapping_add_signed(relative);
    let of = |target: u64| {
        if target == start || leads_to(modules, target, start) { Call::Direct } else { Call::Other }
    };
    // call rel32
    if code[2] == 0xe8 {
        return of(target);
    }
    // call [rip + rel32]: the slot of a table holds the function
    if code[1] == 0xff && code[2] == 0x15 {
        return word(target).map_or(Call::Indirect, of);
    }
    let is_indirect = (2..=LONGEST).any(|length| is_indirect_call(&code[LONGEST - length..]));
    if is_indirect { Call::Indirect } else { Call::Other }
}

/// Whether the bytes are one instruction `call r/m64` (FF /2), with or without a REX prefix.
fn is_indirect_call(code: &[u8]) -> bool {
    let code = match code {
        [0x40..=0x4f, rest @ ..] => rest,
        code => code,
    };
    let [0xff, operands, rest @ ..] = code else { return false };
    let (mode, extension, memory) = (operands >> 6, (operands >> 3) & 7, operands & 7);
    let displacement = match (mode, memory) {
        (0, 4) | (1, 0..=3 | 5..) => 1,
        (0, 5) | (2, 0..=3 | 5..) => 4,
        (1, _) => 2,
        (2, _) => 5,
        (_, _) => 0,
    };
    extension == 2 && rest.len() == displacement
}

/// Whether code at `target` does nothing but jump to `start`: an entry of the procedure linkage
/// table, or a thunk.
fn leads_to(modules: &[Module], target: u64, start: u64) -> bool {
    let Some(module) = module_of(modules, target) else { return false };
    // A function that does nothing but call another one has set up its frame, and taken it down.
    let is_framed = module.code(target, FORWARDS.len()) == Some(&FORWARDS[..]);
    let target = if is_framed { target + FORWARDS.len() as u64 } else { target };
    match module.code(target, 6) {
        Some([0xeb, by, ..]) => {
            return target.wrapping_add(2).wrapping_add_signed(i64::from(by.cast_signed()))
                == start;
        }
        Some([0xe9, by @ ..]) if let Some(by) = by.first_chunk() => {
            let by = i64::from(i32::from_le_bytes(*by));
            return target.wrapping_add(5).wrapping_add_signed(by) == start;
        }
        // jmp [rip + rel32]: a function of another crate
        Some([0xff, 0x25, by @ ..]) if let Some(by) = by.first_chunk() => {
            let by = i64::from(i32::from_le_bytes(*by));
            return word(target.wrapping_add(6).wrapping_add_signed(by)) == Some(start);
        }
        Some(_) => return false,
        // Outside of `.text`: a linkage table.
        None => {}
    }
    let (Some(first), Some(second)) = (word(target), word(target.wrapping_add(8))) else {
        return false;
    };
    let mut code = [0; 16];
    code[..8].copy_from_slice(&first.to_le_bytes());
    code[8..].copy_from_slice(&second.to_le_bytes());
    // endbr64, and a prefix bnd, may stand before jmp [rip + rel32]
    let skipped = if code.starts_with(&[0xf3, 0x0f, 0x1e, 0xfa]) { 4 } else { 0 };
    let skipped = skipped + usize::from(code[skipped] == 0xf2);
    match code.get(skipped..) {
        Some([0xff, 0x25, by @ ..]) if let Some(by) = by.first_chunk() => {
            let slot = target
                .wrapping_add(skipped as u64 + 6)
                .wrapping_add_signed(i64::from(i32::from_le_bytes(*by)));
            word(slot) == Some(start)
        }
        _ => false,
    }
}

fn module_of(modules: &[Module], address: u64) -> Option<&Module> {
    modules.iter().find(|module| module.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indirect_calls_are_recognized_by_their_length() {
        // call rax; call r12; call [rax + 0x18]; call [r12 + 0x18]; call [rax + 0x11223344]
        let calls: [&[u8]; 5] = [
            &[0xff, 0xd0],
            &[0x41, 0xff, 0xd4],
            &[0xff, 0x50, 0x18],
            &[0x41, 0xff, 0x54, 0x24, 0x18],
            &[0xff, 0x90, 0x44, 0x33, 0x22, 0x11],
        ];
        for call in calls {
            assert!(is_indirect_call(call), "{call:x?}");
            assert!(!is_indirect_call(&[call, &[0x90]].concat()), "{call:x?}");
        }
        // jmp rax
        assert!(!is_indirect_call(&[0xff, 0xe0]));
    }
}
