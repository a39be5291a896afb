/* What an ARM MPS2 board runs first: the vector table, the floating-point unit, then main. */
#include <stdint.h>
#include <stdlib.h>

extern uint32_t stack_top;
int main(void);
void initialise_monitor_handles(void);
void reset(void);
void _fini(void);

void reset(void)
{
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* the coprocessors 10 and 11 */
    initialise_monitor_handles();
    exit(main());
}

void _fini(void) {} /* exit calls it */

__attribute__((section(".vectors"), used)) static const void *const vectors[] = {
    &stack_top, (const void *)(uintptr_t)&reset};
