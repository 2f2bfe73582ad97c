//! The children that a walk has met and not yet visited.

use std::mem::MaybeUninit;

use super::tree::Child;
use crate::bvh::{MESH_LEVELS, WORLD_LEVELS};

/// Children that [`Stack::push_eight`] writes.
const EIGHT: usize = 8;

/// Of each level's 8 children one is visited and 7 wait. Besides them there are
/// the marks at the bottoms of the world's walk and a mesh's, and the room that
/// a write of 8 children at the top needs.
const SIZE: usize = 7 * (MESH_LEVELS + WORLD_LEVELS) as usize + 2 + EIGHT;

/// A stack of children with the keys of their distances (see
/// [`super::level::Level`]). Trees that are too deep for it make it panic.
pub(super) struct Stack {
    keys: [MaybeUninit<i32>; SIZE],
    children: [MaybeUninit<Child>; SIZE],
    /// All entries below are initialised.
    height: usize,
}

impl Stack {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self { keys: [MaybeUninit::uninit(); SIZE], children: [MaybeUninit::uninit(); SIZE], height: 0 }
    }

    #[inline(always)]
    pub(super) fn push(&mut self, child: Child, key: i32) {
        self.keys[self.height] = MaybeUninit::new(key);
        self.children[self.height] = MaybeUninit::new(child);
        self.height += 1;
    }

    /// The entry at `depth` from the top, which is 0.
    #[inline(always)]
    pub(super) fn peek(&self, depth: usize) -> (Child, i32) {
        assert!(depth < self.height && self.height <= SIZE, "walks end at a mark that they pushed");
        let place = self.height - 1 - depth;
        // SAFETY: the entries below `height` are initialised.
        unsafe { (self.children[place].assume_init(), self.keys[place].assume_init()) }
    }

    /// Removes the top entry where `really`; without a branch, because that is
    /// as likely as not.
    #[inline(always)]
    pub(super) fn drop_if(&mut self, really: bool) {
        self.height = self.height.wrapping_sub(usize::from(really));
    }

    #[inline(always)]
    pub(super) fn pop(&mut self) -> (Child, i32) {
        let top = self.peek(0);
        self.height -= 1;
        top
    }

    /// Removes entries down to one whose key is within `limit`, and returns that.
    #[inline(always)]
    pub(super) fn pop_within(&mut self, limit: i32) -> Child {
        loop {
            let (child, key) = self.pop();
            if key <= limit {
                return child;
            }
        }
    }

    /// Pushes the first `count` of 8 children and keys, which `write` stores at
    /// the addresses that it is given.
    ///
    /// # Safety
    ///
    /// `write` must write 8 children to its first argument and 8 keys to its
    /// second, which are aligned as those are, and `count` be at most 8.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "portable code pushes one by one"))]
    #[inline(always)]
    pub(super) unsafe fn push_eight(&mut self, count: usize, write: impl FnOnce(*mut Child, *mut i32)) {
        assert!(self.height <= SIZE - EIGHT, "no tree has more levels than the stack is made for");
        let children = &mut self.children[self.height..self.height + EIGHT];
        let keys = &mut self.keys[self.height..self.height + EIGHT];
        write(children.as_mut_ptr().cast(), keys.as_mut_ptr().cast());
        self.height += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pushed_last_is_popped_first() {
        let mut stack = Stack::new();
        for node in 0..9 {
            stack.push(Child::inner(node), 10);
        }
        stack.drop_if(false);
        stack.drop_if(true);
        assert_eq!(stack.peek(1), (Child::inner(6), 10));
        assert_eq!(stack.pop(), (Child::inner(7), 10));
        assert_eq!(stack.pop(), (Child::inner(6), 10));
    }

    #[test]
    #[should_panic = "index out of bounds"]
    fn a_tree_that_is_too_deep_panics() {
        let mut stack = Stack::new();
        (0..10_000).for_each(|_| stack.push(Child::NOTHING, 0));
    }

    #[test]
    #[should_panic = "walks end"]
    fn an_empty_stack_gives_nothing() {
        Stack::new().pop();
    }
}
