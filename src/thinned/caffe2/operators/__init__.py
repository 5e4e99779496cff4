"""The operators that the package brings: importing this registers them."""

from thinned.caffe2.operators import basic as basic
from thinned.caffe2.operators import cudnn as cudnn
from thinned.caffe2.operators import dropout as dropout
from thinned.caffe2.operators import sparse as sparse
