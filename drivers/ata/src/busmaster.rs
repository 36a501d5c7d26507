//! The guest's accesses to the bus master registers of one channel (BMIDE s. 2).

use crate::channel::{Channel, State};
use crate::spec::bm;
use mediator::Ctx;

impl Channel {
    /// One byte of the channel's eight. `None`: work was pushed, ask again.
    pub fn bm_read(&mut self, cx: &mut Ctx<'_>, register: u32) -> Option<u8> {
        match register {
            bm::COMMAND => Some(self.bm.command),
            bm::STATUS => self.bm_status(cx),
            bm::PRDT.. => {
                let byte = register.wrapping_sub(bm::PRDT) as usize;
                Some(self.bm.prdt.to_le_bytes().get(byte).copied().unwrap_or(0))
            }
            // Reserved, or the chip maker's.
            _ => Some(self.ports.bm_read(cx.device, register)),
        }
    }

    fn bm_status(&mut self, cx: &mut Ctx<'_>) -> Option<u8> {
        if self.has_own() {
            self.look_after_own(cx);
        }
        if matches!(self.state, State::Bounce(_)) && self.poll_bounce(cx) {
            return None;
        }
        let real = self.own_bm_status(self.ports.bm_read(cx.device, bm::STATUS));
        let error = if self.bm.error { bm::ERROR } else { 0 };
        let active = if self.bm.active { bm::ACTIVE } else { 0 };
        Some(match self.state {
            State::DmaDirect => real | error,
            // Busy, no cause yet: what the device tells is about a part.
            State::Bounce(_) | State::Stuck => (real & (bm::CAPABLE | bm::SIMPLEX)) | active | error,
            _ => (real & !bm::ACTIVE) | active | error,
        })
    }

    /// One byte of the channel's eight.
    pub fn bm_write(&mut self, cx: &mut Ctx<'_>, register: u32, value: u8) {
        match register {
            bm::COMMAND => self.bm_command(cx, value),
            bm::STATUS => {
                self.bm.error &= value & bm::ERROR == 0;
                // While a part runs its interrupt bit is ours.
                let ours = matches!(self.state, State::Bounce(_));
                let passed = if ours { value & bm::CAPABLE } else { self.own_bm_clear(value) };
                self.ports.bm_write(cx.device, register, passed);
            }
            bm::PRDT.. => {
                let mut bytes = self.bm.prdt.to_le_bytes();
                if let Some(byte) = bytes.get_mut(register.wrapping_sub(bm::PRDT) as usize) {
                    *byte = value;
                }
                self.bm.prdt = u32::from_le_bytes(bytes);
            }
            // Reserved, or the chip maker's: not followed, so not passed.
            _ => {}
        }
    }

    /// Only the edges of the start bit count: the bus master reads the table when it is started.
    fn bm_command(&mut self, cx: &mut Ctx<'_>, value: u8) {
        let was_started = self.bm.command & bm::START != 0;
        let started = value & bm::START != 0;
        self.bm.command = value & (bm::START | bm::TO_MEMORY);
        if started == was_started {
            return;
        }
        self.bm.armed = started;
        self.bm.active = started;
        if started {
            self.start_if_armed(cx);
        } else {
            self.on_stop(cx);
        }
    }
}
