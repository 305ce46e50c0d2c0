/* Points at which a test may kill this process, as a crash would, or stop it for a while.
 *
 *     FED_FAULT_POINT("reducer.planned");
 *
 * The process ends with SIGKILL when it comes to the point that the environment names:
 * CONFED_FAULT=reducer.planned, or CONFED_FAULT=reducer.planned:3 for the third time. With
 * CONFED_FAULT=reducer.planned:1:stop it is SIGSTOP, and it goes on with SIGCONT. Not in release
 * builds (CONFED_FAULTS), where a point is nothing at all.
 *
 * Thread safety: any thread.
 */
#ifndef FED_COMMON_BASE_FAULT_H
#define FED_COMMON_BASE_FAULT_H

#ifdef CONFED_FAULTS
void fed_fault_point(const char *name);
#    define FED_FAULT_POINT(name) fed_fault_point(name)
#else
#    define FED_FAULT_POINT(name) ((void)0)
#endif

#endif /* FED_COMMON_BASE_FAULT_H */
