// Compiled once per instruction set: stands for the kernels.
#define NF_JOIN_(a, b) a##b
#define NF_JOIN(a, b) NF_JOIN_(a, b)
#define NF_TEXT_(a) #a
#define NF_TEXT(a) NF_TEXT_(a)

extern "C" const char* const NF_JOIN(nf_kernels_, NF_TARGET)[1] = {NF_TEXT(NF_TARGET)};
