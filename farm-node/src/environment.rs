//! What the graphics drivers read from the process's environment.

/// Keeps Mesa's device-select layer out of this process. It orders adapters,
/// which the farm does itself, and on a machine without a display it complains
/// on stderr each time that adapters are listed.
///
/// # Safety
/// No other thread may be running: call it first in `main`.
pub unsafe fn leave_out_device_select() {
    // SAFETY: the caller promises that nothing reads the environment meanwhile.
    unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
}
