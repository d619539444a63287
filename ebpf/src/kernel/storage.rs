//! Task and socket local storage, declared by hand: the library has no task storage, and its socket
//! storage takes another kind of context. The five members, in this order, are a BTF map definition.
//!
//! Cost: one look-up without hashing; a value frees itself with the task or the socket.

use crate::wire::TaskState;
use aya_ebpf::{
    bindings::{
        BPF_F_CLONE, BPF_F_NO_PREALLOC, BPF_LOCAL_STORAGE_GET_F_CREATE,
        bpf_map_type::{BPF_MAP_TYPE_SK_STORAGE, BPF_MAP_TYPE_TASK_STORAGE},
        task_struct,
    },
    helpers::generated::{bpf_sk_storage_get, bpf_task_storage_get},
};
use core::{
    ffi::c_void,
    ptr::{from_ref, null, null_mut},
};

macro_rules! local_storage {
    ($name:ident, $kind:expr, $flags:expr, $owner:ty, $get:ident) => {
        #[repr(C)]
        pub struct $name<V> {
            r#type: *const [i32; $kind as usize],
            key: *const i32,
            value: *const V,
            max_entries: *const [i32; 0],
            map_flags: *const [i32; $flags as usize],
        }

        // SAFETY: the members are null and only describe the map; the loader replaces them.
        unsafe impl<V> Sync for $name<V> {}

        impl<V> $name<V> {
            pub const fn new() -> Self {
                Self { r#type: null(), key: null(), value: null(), max_entries: null(), map_flags: null() }
            }

            /// The owner's value; a new one is zeroed.
            ///
            /// # Safety
            /// `owner` must be a pointer that the verifier trusts.
            #[inline(always)]
            pub unsafe fn get(&self, owner: *mut $owner, create: bool) -> Option<&mut V> {
                let flags = if create { BPF_LOCAL_STORAGE_GET_F_CREATE as u64 } else { 0 };
                let map = from_ref(self).cast_mut().cast::<c_void>();
                // SAFETY: the verifier checks both pointers; the value is as large as the map says.
                unsafe { $get(map, owner, null_mut(), flags).cast::<V>().as_mut() }
            }
        }
    };
}

local_storage!(TaskStorage, BPF_MAP_TYPE_TASK_STORAGE, BPF_F_NO_PREALLOC, task_struct, bpf_task_storage_get);
local_storage!(SocketStorage, BPF_MAP_TYPE_SK_STORAGE, BPF_F_NO_PREALLOC, c_void, bpf_sk_storage_get);
// Connections start with the value that their listener has.
local_storage!(InheritedStorage, BPF_MAP_TYPE_SK_STORAGE, BPF_F_NO_PREALLOC | BPF_F_CLONE, c_void, bpf_sk_storage_get);

/// What each watched thread does.
#[unsafe(link_section = ".maps")]
#[unsafe(no_mangle)]
pub static TASKS: TaskStorage<TaskState> = TaskStorage::new();
