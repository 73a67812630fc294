// Makes the n-th call of a kind fail, in this process. Linked into a test, or loaded into a program
// by LD_PRELOAD, where environment variables control it:
//   ASSAY_FAULT         kind:n[:errno]; n is 0 to count only, and "+" after n means all from there
//                       on
//   ASSAY_FAULT_REPORT  file that gets the number of such calls at the end; for allocations
//                       also which of them came first from each distinct call stack
#pragma once

extern "C" {

enum FaultKind {
  kFaultNone,
  kFaultOpen,         // open, openat, fopen, opendir
  kFaultRead,         // read, pread, readdir
  kFaultWrite,        // write, pwrite, writev
  kFaultSync,         // fsync, fdatasync, and close of a written file
  kFaultRename,       // rename, renameat, renameat2
  kFaultMap,          // mmap of files, ftruncate, fallocate
  kFaultMakeDir,      // mkdir
  kFaultAlloc,        // malloc, calloc, realloc, aligned_alloc, posix_memalign
  kFaultShort,        // a write or read of half the bytes, which is not a failure
  kFaultInterrupted,  // a write or read that returns EINTR, which is not a failure either
  kFaultKinds
};

// The at-th call from now on fails, and with `more` all later calls too. error: 0 for the kind's
// own.
void faults_arm(enum FaultKind kind, long at, int error, bool more);
// Ends that and returns the number of calls.
long faults_disarm();
// Blocks of memory that were allocated and not freed.
long faults_live_blocks();
}
