// start.c: the entry point of our programs, which have no C library to provide one.
//
// The kernel enters with the stack pointer at argc; they take no arguments, so only
// the frame is made proper: no caller, and the alignment the ABI asks for.

__attribute__((noreturn, used)) void ck_main(void);

#if defined(__x86_64__)
__asm__(".text\n"
        ".globl _start\n"
        ".type _start, @function\n"
        "_start:\n"
        "    xor %ebp, %ebp\n"
        "    and $-16, %rsp\n"
        "    call ck_main\n"
        "    ud2\n"
        ".size _start, . - _start\n");
#elif defined(__aarch64__)
__asm__(".text\n"
        ".globl _start\n"
        ".type _start, %function\n"
        "_start:\n"
        "    mov x29, xzr\n"
        "    mov x30, xzr\n"
        "    bl ck_main\n"
        "    brk #1\n"
        ".size _start, . - _start\n");
#endif
