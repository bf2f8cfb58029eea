/* Where the VM begins: its own stack, then main, then exit_group with main's result. */
    .section .text.start, "ax", @progbits
    .globl  __start
    .type   __start, @function
__start:
    lui     $sp, %hi(stack_top)
    daddiu  $sp, $sp, %lo(stack_top)
    jal     guest_main
    nop
    move    $4, $2
    li      $2, 5205               /* exit_group */
    syscall
    break                           /* never reached */
    .size   __start, . - __start

    .bss
    .balign 4096
    .space  65536
stack_top:
