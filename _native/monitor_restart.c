// monitor_restart.c: whether and when a container runs again. Pure.
#include "monitor_format.h"

#include "ckit.h"

bool ck_restart_is_wanted(uint32_t policy, uint32_t maximum, uint32_t restarts, int32_t status,
                          bool stopping) {
    if (stopping)
        return false;
    switch (policy) {
    case CK_RESTART_ALWAYS:
    case CK_RESTART_UNLESS_STOPPED: // differs only in what an engine does after a reboot
        return true;
    case CK_RESTART_ON_FAILURE:
        return status != 0 && (maximum == 0 || restarts < maximum);
    default:
        return false;
    }
}

uint64_t ck_restart_backoff(uint64_t previous_ms, uint64_t run_ms) {
    if (previous_ms == 0 || run_ms >= CK_BACKOFF_RESET_MS)
        return CK_BACKOFF_FIRST_MS;
    uint64_t doubled = previous_ms * 2;
    return doubled < CK_BACKOFF_LAST_MS ? doubled : CK_BACKOFF_LAST_MS;
}
