// Makes the n-th call of a kind fail, in this process. Linked into a test, or loaded into a program
// by LD_PRELOAD, where the environment arms it:
//   ASSAY_FAULT         kind:n[:errno], with n 0 to count only, and "+" behind n for all from there
//   on ASSAY_FAULT_REPORT  file into which the number of such calls goes at the end; of allocations
//                       behind it which of them came first from each distinct stack of calls
#pragma once

extern "C" {

enum FaultKind {
  kFaultNone,
  kFaultOpen,         // open, openat, fopen, opendir
  kFaultRead,         // read, pread, readdir
  kFaultWrite,        // write, pwrite, writev
  kFaultSync,         // fsync, fdatasync, and close of what was written
  kFaultRename,       // rename, renameat, renameat2
  kFaultMap,          // mmap of files, ftruncate, fallocate
  kFaultMakeDir,      // mkdir
  kFaultAlloc,        // malloc, calloc, realloc, aligned_alloc, posix_memalign
  kFaultShort,        // a write or read of half the bytes, which is not a failure
  kFaultInterrupted,  // a write or read that gives EINTR, which is none either
  kFaultKinds
};

// The at-th call from now on fails, and with `more` all calls after it too. error: 0 for the kind's
// own.
void faults_arm(enum FaultKind kind, long at, int error, bool more);
// Ends that; gives the calls there were.
long faults_disarm();
// Blocks of memory that were taken and not given back.
long faults_live_blocks();
}
